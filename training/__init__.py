"""How the embedded model is made: scenes to disk, train, evaluate, export. Not installed.

python -m training.dataset --data /tmp/world --train 12000 --validation 300
python -m training.train --data /tmp/world --run runs/first --minutes 45
python -m training.evaluate runs/first/best.pt --data /tmp/world
python -m training.export runs/first/best.pt
"""
