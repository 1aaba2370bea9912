"""`python -m pellucid.torch_alias train.py [arguments]`: the script runs with pellucid as torch; `pellucid run` has options besides."""
import sys

from pellucid.torch_alias import run

if len(sys.argv) < 2:
    sys.exit("usage: python -m pellucid.torch_alias script.py [arguments]")
run(sys.argv[1], sys.argv[2:])
