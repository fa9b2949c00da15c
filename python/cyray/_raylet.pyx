# cython: language_level=3, embedsignature=True, binding=True
# cython: freethreading_compatible=False
# distutils: language = c++
"""The Python face of the C++ core library.

A table of contents: each part is a small file in ``includes/``.

- ``state.pxi``     the one core worker of this process, status codes as exceptions
- ``buffers.pxi``   memory that Python sees: values of this process, objects of the store
- ``ref.pxi``       ``ObjectRef``
- ``codec.pxi``     values to bytes and back
- ``arguments.pxi`` a task's arguments to bytes and back
- ``objects.pxi``   put, get, free, futures
- ``wait.pxi``      wait
- ``demands.pxi``   what plans ask for of nodes
- ``submit.pxi``    tasks, actors and their methods as callables
- ``titles.pxi``    the title of a worker's process
- ``execute.pxi``   the loop of a worker
- ``loops.pxi``     the event loops of async actors
- ``generators.pxi``  streaming generators, on both sides
- ``cancel.pxi``    cancelling, on both sides
- ``saves.pxi``     the saves of an actor's state
- ``results.pxi``   what a task returns or raises
- ``gcs.pxi``       questions to the GCS
- ``groups.pxi``    placement groups
- ``notices.pxi``   what a driver tells of: long waits, errors that nobody gets, what is left undone
- ``zygote.pxi``    how workers are forked
"""

include "includes/state.pxi"
include "includes/buffers.pxi"
include "includes/ref.pxi"
include "includes/codec.pxi"
include "includes/arguments.pxi"
include "includes/objects.pxi"
include "includes/wait.pxi"
include "includes/demands.pxi"
include "includes/templates.pxi"
include "includes/submit.pxi"
include "includes/titles.pxi"
include "includes/execute.pxi"
include "includes/loops.pxi"
include "includes/generators.pxi"
include "includes/cancel.pxi"
include "includes/results.pxi"
include "includes/gcs.pxi"
include "includes/saves.pxi"
include "includes/groups.pxi"
include "includes/notices.pxi"
include "includes/zygote.pxi"
