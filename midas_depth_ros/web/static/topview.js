// Top view of the scan: the robot at the bottom faces up; free ground is tinted, obstacles are dots.

const CLEAR = -1;
const REACHES = [2, 3, 4, 6, 10, 20, 50, 100, 200, 500];

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function heat(share) { // near is warm
  return `hsl(${Math.round(8 + 190 * Math.min(1, Math.max(0, share)))} 80% 52%)`;
}

/**
 * Draw a scan ({first, step, most, ranges}) and the ground seen free ({first, step, most, free}), or
 * the reason why there is no scan.
 */
export function drawTopView(canvas, scan, seenFree, nearest, reason) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const letter = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  pen.font = `${0.8 * letter}px system-ui, sans-serif`;
  const reach = scan ? viewReach(scan) : 3;
  const origin = { x: width / 2, y: height - 16 };
  const scale = (height - 30) / reach;
  const at = (range, angle) => [
    origin.x - range * Math.sin(angle) * scale, origin.y - range * Math.cos(angle) * scale,
  ];
  if (scan) {
    rings(pen, origin, scale, reach, width);
    if (seenFree) free(pen, seenFree, at, origin, reach);
    dots(pen, scan, at, reach);
    if (nearest && nearest.every(Number.isFinite)) marker(pen, nearest, origin, scale);
  } else {
    unknown(pen, reason, width, height);
  }
  pen.fillStyle = css('--robot');
  pen.beginPath();
  pen.moveTo(origin.x, origin.y - 9);
  pen.lineTo(origin.x + 7, origin.y + 7);
  pen.lineTo(origin.x - 7, origin.y + 7);
  pen.fill();
}

/** The range to draw in metres: up to the farthest point. */
function viewReach(scan) {
  const seen = scan.ranges.filter((range) => range > 0);
  const farthest = seen.length ? Math.max(...seen) : scan.most;
  return Math.min(scan.most, REACHES.find((reach) => reach >= farthest) ?? scan.most);
}

function rings(pen, origin, scale, reach, width) {
  pen.strokeStyle = css('--ring');
  pen.fillStyle = css('--dim');
  pen.lineWidth = 1;
  pen.textAlign = 'left';
  const step = reach > 20 ? reach / 4 : reach > 10 ? 5 : reach > 4 ? 2 : 1;
  for (let range = step; range <= reach + 0.01; range += step) {
    pen.beginPath();
    pen.arc(origin.x, origin.y, range * scale, Math.PI, 2 * Math.PI);
    pen.stroke();
    const label = `${+range.toPrecision(3)} m`;
    const x = Math.min(origin.x + range * scale * 0.94, width - pen.measureText(label).width - 8);
    const beside = Math.sqrt(Math.max(0, (range * scale) ** 2 - (x - origin.x) ** 2));
    pen.fillText(label, x + 4, origin.y - beside + 4);
  }
}

/** Tint what was seen free, not what is before an obstacle: nobody may have looked there. */
function free(pen, seen, at, origin, reach) {
  pen.fillStyle = css('--free');
  seen.free.forEach((metres, i) => {
    if (!(metres > 0)) return;
    const angle = seen.first + i * seen.step;
    const far = Math.min(metres, reach);
    pen.beginPath();
    pen.moveTo(origin.x, origin.y);
    pen.lineTo(...at(far, angle - seen.step / 2));
    pen.lineTo(...at(far, angle + seen.step / 2));
    pen.fill();
  });
}

function dots(pen, scan, at, reach) {
  scan.ranges.forEach((range, i) => {
    if (range === null || range === CLEAR || range > reach) return;
    const [x, y] = at(range, scan.first + i * scan.step);
    pen.fillStyle = heat(range / Math.min(reach, 3));
    pen.beginPath();
    pen.arc(x, y, 3, 0, 2 * Math.PI);
    pen.fill();
  });
}

function marker(pen, [forward, left], origin, scale) {
  pen.strokeStyle = css('--text');
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(origin.x - left * scale, origin.y - forward * scale, 7, 0, 2 * Math.PI);
  pen.stroke();
}

/** Write why there is no scan, on a plain box: the background is hatched. */
function unknown(pen, reason, width, height) {
  pen.font = '600 14px system-ui, sans-serif';
  pen.textAlign = 'center';
  const lines = wrapped(pen, reason, width - 64);
  const box = Math.max(...lines.map((line) => pen.measureText(line).width)) + 28;
  const top = (height - lines.length * 19) / 2 - 10;
  pen.fillStyle = css('--card');
  pen.fillRect((width - box) / 2, top, box, lines.length * 19 + 12);
  pen.fillStyle = css('--text');
  lines.forEach((line, i) => pen.fillText(line, width / 2, top + 20 + i * 19));
}

function wrapped(pen, text, width) {
  const lines = [''];
  for (const word of text.slice(0, 200).split(' ')) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (lines.at(-1) && pen.measureText(longer).width > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
