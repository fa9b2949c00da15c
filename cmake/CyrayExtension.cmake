# cyray._raylet: the one extension module. Cython's output plus the core library, linked statically
# into a module that exports PyInit__raylet and nothing else.
set(CYRAY_PYTHON_ROOT ${CMAKE_SOURCE_DIR}/python)
set(CYRAY_RAYLET_PYX ${CYRAY_PYTHON_ROOT}/cyray/_raylet.pyx)
file(GLOB CYRAY_HAVE_RAYLET_PYX CONFIGURE_DEPENDS ${CYRAY_RAYLET_PYX})  # looked for at each build
if(NOT CYRAY_HAVE_RAYLET_PYX)
  message(STATUS "no python/cyray/_raylet.pyx: the extension is left out")
  return()
endif()

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(
  COMMAND ${Python_EXECUTABLE} -c "import Cython; print(Cython.__version__)"
  OUTPUT_VARIABLE CYRAY_CYTHON_VERSION OUTPUT_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE CYRAY_CYTHON_MISSING ERROR_QUIET)
if(CYRAY_CYTHON_MISSING OR CYRAY_CYTHON_VERSION VERSION_LESS 3)
  message(FATAL_ERROR "${Python_EXECUTABLE} has no Cython 3: run `make setup`, "
                      "or pass -DPython_EXECUTABLE=<an interpreter that has it>")
endif()

file(GLOB_RECURSE CYRAY_CYTHON_PARTS CONFIGURE_DEPENDS
     ${CYRAY_PYTHON_ROOT}/cyray/*.pxi ${CYRAY_PYTHON_ROOT}/cyray/*.pxd)
set(CYRAY_RAYLET_CPP ${CMAKE_CURRENT_BINARY_DIR}/_raylet.cpp)
add_custom_command(
  OUTPUT ${CYRAY_RAYLET_CPP}
  COMMAND ${Python_EXECUTABLE} -m cython -3 --cplus --module-name cyray._raylet
          -X embedsignature=True -I ${CYRAY_PYTHON_ROOT} -I ${CYRAY_PYTHON_ROOT}/cyray/includes
          ${CYRAY_RAYLET_PYX} -o ${CYRAY_RAYLET_CPP}
  DEPENDS ${CYRAY_RAYLET_PYX} ${CYRAY_CYTHON_PARTS}
  COMMENT "Cythonizing _raylet.pyx"
  VERBATIM)

# The version script keeps every C++ symbol local, so that another library's copy of the same
# templates in one process can neither replace ours nor be replaced by it.
set(CYRAY_EXPORTS ${CMAKE_CURRENT_BINARY_DIR}/_raylet.map)
file(CONFIGURE OUTPUT ${CYRAY_EXPORTS} CONTENT "{ global: PyInit__raylet; local: *; };\n" @ONLY)

python_add_library(_raylet MODULE WITH_SOABI ${CYRAY_RAYLET_CPP})
target_include_directories(_raylet PRIVATE ${CYRAY_SOURCE_ROOT} ${CYRAY_PYTHON_ROOT}/cyray/includes)
target_link_libraries(_raylet PRIVATE cyray_core)
target_link_options(_raylet PRIVATE -Wl,--exclude-libs,ALL -Wl,--version-script=${CYRAY_EXPORTS}
                    -Wl,--as-needed -Wl,--gc-sections)
set_target_properties(_raylet PROPERTIES LINK_DEPENDS ${CYRAY_EXPORTS})
# The generated file is Cython's business: its warnings are not ours.
set_source_files_properties(${CYRAY_RAYLET_CPP} PROPERTIES COMPILE_OPTIONS "-w")
install(TARGETS _raylet DESTINATION cyray)

# `make build`: everything that is installed into the package, and nothing else.
add_custom_target(cyray_package DEPENDS _raylet)
foreach(daemon raylet gcs_server)
  if(TARGET ${daemon})
    add_dependencies(cyray_package ${daemon})
  endif()
endforeach()
