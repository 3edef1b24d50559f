"""`midas_depth evaluate`: a recording through the node's pipeline, compared with a truth."""
