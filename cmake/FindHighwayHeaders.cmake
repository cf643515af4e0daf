# Finds Highway's headers, never its library: bitnet uses static dispatch, which references no symbol of libhwy.
# (Highway's own package config refuses to load where only the headers were unpacked, so it is of no use here.)
#
# Makes Highway::headers and HighwayHeaders_VERSION. Where the including project already has a target `hwy`
# (add_subdirectory or FetchContent of Highway), its headers are taken.
set(_highway_hint "")
if(TARGET hwy)
  get_target_property(_highway_hint hwy SOURCE_DIR)
endif()
find_path(HighwayHeaders_INCLUDE_DIR hwy/highway.h HINTS ${_highway_hint})
mark_as_advanced(HighwayHeaders_INCLUDE_DIR)

set(HighwayHeaders_VERSION "")
if(HighwayHeaders_INCLUDE_DIR)
  file(STRINGS "${HighwayHeaders_INCLUDE_DIR}/hwy/base.h" _highway_version
       REGEX "^#define HWY_(MAJOR|MINOR|PATCH) +[0-9]+")
  string(REGEX REPLACE "[^0-9;]" "" _highway_version "${_highway_version}")
  string(REPLACE ";" "." HighwayHeaders_VERSION "${_highway_version}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(HighwayHeaders REQUIRED_VARS HighwayHeaders_INCLUDE_DIR
                                  VERSION_VAR HighwayHeaders_VERSION)

if(HighwayHeaders_FOUND)
  if(NOT TARGET Highway::headers)
    add_library(Highway::headers INTERFACE IMPORTED)
    target_include_directories(Highway::headers INTERFACE "${HighwayHeaders_INCLUDE_DIR}")
  endif()
else()
  unset(HighwayHeaders_INCLUDE_DIR CACHE)  # Too old or absent: look again next time.
endif()
