# gcs_server and raylet: the two programs that link gRPC, OpenSSL and SQLite, all statically; the raylet alone
# also libevent.
#
# The finished programs need only libc and libm at run time, so a wheel works on a machine that has
# none of these libraries. A target is made when its sources exist.
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
pkg_check_modules(CYRAY_GRPC REQUIRED grpc++)
pkg_check_modules(CYRAY_SQLITE REQUIRED sqlite3)

# Every library of pkg-config's static closure that has an archive, in one group: their order
# no longer matters. The rest (dl, rt, pthread) is part of glibc.
function(cyray_static_archives out)
  set(archives)
  foreach(name IN LISTS ARGN)
    if(name MATCHES "^(dl|rt|pthread|m|atomic|systemd)$")
      continue()
    endif()
    find_library(CYRAY_ARCHIVE_${name} lib${name}.a REQUIRED)
    list(APPEND archives ${CYRAY_ARCHIVE_${name}})
  endforeach()
  list(REMOVE_DUPLICATES archives)
  set(${out} ${archives} PARENT_SCOPE)
endfunction()
cyray_static_archives(CYRAY_DAEMON_ARCHIVES ${CYRAY_GRPC_STATIC_LIBRARIES} sqlite3 ssl crypto)

add_library(cyray_daemon_archives INTERFACE)
target_include_directories(cyray_daemon_archives SYSTEM INTERFACE ${CYRAY_GRPC_INCLUDE_DIRS}
                           ${CYRAY_SQLITE_INCLUDE_DIRS})
target_link_libraries(cyray_daemon_archives INTERFACE
  -Wl,--start-group ${CYRAY_DAEMON_ARCHIVES} -Wl,--end-group
  -Wl,--push-state,-Bstatic,--as-needed -latomic -Wl,--pop-state Threads::Threads ${CMAKE_DL_LIBS} m)

# cyray_daemon(<program> <layer>): <layer>/<program>_main.cc, installed beside the Python package.
function(cyray_daemon program layer)
  set(main ${CYRAY_SOURCE_ROOT}/cyray/${layer}/${program}_main.cc)
  if(NOT EXISTS ${main})
    return()
  endif()
  add_executable(${program} ${main})
  target_link_libraries(${program} PRIVATE cyray_${layer})
  target_link_options(${program} PRIVATE -static-libstdc++ -static-libgcc -Wl,--gc-sections
                      -Wl,-O1 -Wl,-z,now)
  install(TARGETS ${program} DESTINATION cyray/_bin)
endfunction()

# HTTP is in libevent_extra, which needs the core.
cyray_static_archives(CYRAY_EVENT_ARCHIVES event_extra event_core)

cyray_layer(crypto LINKS cyray_common cyray_daemon_archives)
cyray_layer(net LINKS cyray_wire cyray_crypto)
cyray_layer(gcs LINKS cyray_net cyray_sched)
cyray_layer(raylet LINKS cyray_gcs cyray_store ${CYRAY_EVENT_ARCHIVES})
cyray_daemon(gcs_server gcs)
cyray_daemon(raylet raylet)
# gcc 12 takes the half of a std::expected that is not there for one that may be read.
set_source_files_properties(${CYRAY_SOURCE_ROOT}/cyray/raylet/raylet.cc PROPERTIES COMPILE_OPTIONS
                            "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
