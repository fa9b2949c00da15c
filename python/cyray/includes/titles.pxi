# The title of this process, as ps and top show it: what runs here.
#
# The kernel shows the memory that had the arguments, `own_title` is told where that is. It is written by
# hand: a call of the setproctitle package takes 0.6 us, a short call of an actor six in all. The package
# reads the same memory. Guarded by the GIL.

cdef char* _title = NULL          # NULL: the title is left alone
cdef size_t _title_room = 0
cdef string _resting_title        # of a worker without a task, of an actor without a call
cdef int _titled = 0              # tasks and calls that run, on any thread

cdef enum:
    PREFIX_BYTES = 7   # of "cyray::"


def own_title(size_t address, size_t room, str resting):
    """From now on the title tells what runs here; ``resting`` when nothing does.

    ``address``, ``room``: the memory that the kernel shows, as ``_compat.title_area`` gives it.
    """
    global _title, _title_room
    _title, _title_room = <char*>address, room
    rest_as(resting)


def write_title(size_t address, size_t room, bytes line):
    """Puts a whole command line there, cut to ``room``."""
    cdef size_t size = min(<size_t>len(line), room - 1)
    memcpy(<char*>address, PyBytes_AS_STRING(line), size)
    memset(<char*>address + size, 0, room - size)


cdef rest_as(str name):
    global _resting_title
    _resting_title = name.encode("utf-8", "replace")
    if _titled == 0:
        show_title(_resting_title)


cdef void show_title(const string& name) noexcept:
    cdef size_t size = name.size()
    if _title == NULL:
        return
    if size > _title_room - PREFIX_BYTES - 1:
        size = _title_room - PREFIX_BYTES - 1
        while size > 0 and (<unsigned char>name[size] & 0xC0) == 0x80:   # in the middle of a character
            size -= 1
    memcpy(_title, b"cyray::", PREFIX_BYTES)
    memcpy(_title + PREFIX_BYTES, name.data(), size)
    memset(_title + PREFIX_BYTES + size, 0, _title_room - PREFIX_BYTES - size)


cdef void begin_title(ExecTask* task) noexcept:
    global _titled
    _titled += 1
    show_title(task.tmpl.name if task.name.empty() else task.name)


cdef void end_title() noexcept:
    global _titled
    _titled -= 1
    if _titled == 0:
        show_title(_resting_title)
