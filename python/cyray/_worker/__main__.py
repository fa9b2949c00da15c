"""A worker that the zygote did not fork: `python -m cyray._worker FD WORKER_ID`."""

import sys

from cyray._worker import process

process.make_room_for_title()
process.import_preload()
process.prepare_worker()
process.become_worker(int(sys.argv[1]), sys.argv[2])
