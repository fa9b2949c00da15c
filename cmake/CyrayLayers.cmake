# Helpers that turn a folder of cpp/cyray into a static library and *.fbs files into headers.

set(CYRAY_SOURCE_ROOT ${CMAKE_SOURCE_DIR}/cpp)
set(CYRAY_GENERATED_ROOT ${CMAKE_BINARY_DIR}/generated)

# cyray_schemas(<target> <file.fbs>...): an interface library with the generated headers.
function(cyray_schemas target)
  find_program(FLATC flatc REQUIRED)
  set(outputs)
  foreach(schema IN LISTS ARGN)
    get_filename_component(dir ${schema} DIRECTORY)
    get_filename_component(name ${schema} NAME_WE)
    set(out ${CYRAY_GENERATED_ROOT}/cyray/${dir}/${name}_generated.h)
    add_custom_command(
      OUTPUT ${out}
      COMMAND ${FLATC} --cpp --scoped-enums --keep-prefix
              -I ${CYRAY_SOURCE_ROOT}/cyray/${dir}
              -o ${CYRAY_GENERATED_ROOT}/cyray/${dir} ${CYRAY_SOURCE_ROOT}/cyray/${schema}
      DEPENDS ${CYRAY_SOURCE_ROOT}/cyray/${schema} ${CYRAY_SOURCE_ROOT}/cyray/${dir}/ids.fbs
      VERBATIM)
    list(APPEND outputs ${out})
  endforeach()
  # ids.fbs is included by all of them.
  set(ids ${CYRAY_GENERATED_ROOT}/cyray/wire/ids_generated.h)
  add_custom_command(
    OUTPUT ${ids}
    COMMAND ${FLATC} --cpp --scoped-enums --keep-prefix
            -o ${CYRAY_GENERATED_ROOT}/cyray/wire ${CYRAY_SOURCE_ROOT}/cyray/wire/ids.fbs
    DEPENDS ${CYRAY_SOURCE_ROOT}/cyray/wire/ids.fbs
    VERBATIM)
  add_custom_target(${target}_files DEPENDS ${outputs} ${ids})
  add_library(${target} INTERFACE)
  target_include_directories(${target} SYSTEM INTERFACE ${CYRAY_GENERATED_ROOT}
                             ${CYRAY_GENERATED_ROOT}/cyray/wire)
  add_dependencies(${target} ${target}_files)
endfunction()

# cyray_layer(<name> LINKS <libs>...): cpp/cyray/<name>/*.cc except *_main.cc, as cyray_<name>.
function(cyray_layer name)
  cmake_parse_arguments(ARG "" "" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CYRAY_SOURCE_ROOT}/cyray/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "_main\\.cc$")
  if(sources)
    add_library(cyray_${name} STATIC ${sources})
    target_include_directories(cyray_${name} PUBLIC ${CYRAY_SOURCE_ROOT})
    target_link_libraries(cyray_${name} PUBLIC ${ARG_LINKS})
  else()
    add_library(cyray_${name} INTERFACE)
    target_include_directories(cyray_${name} INTERFACE ${CYRAY_SOURCE_ROOT})
    target_link_libraries(cyray_${name} INTERFACE ${ARG_LINKS})
  endif()
endfunction()
