# The libraries bitnet stands on. Each comes from the first of these that has it, new enough:
#   1. the system, or any prefix on CMAKE_PREFIX_PATH;
#   2. BITNET_DEPS_DIR: build/deps of this folder when bitnet is the top-level project; once that exists, for projects
#      that add this folder, too;
#   3. on Debian and Ubuntu: packages unpacked into BITNET_DEPS_DIR, without root (cmake/get_debian_packages.sh);
#   4. the source archive, by FetchContent, pinned by its SHA-256.
# What none of them has is named in one sentence.
if(PROJECT_IS_TOP_LEVEL OR EXISTS "${PROJECT_SOURCE_DIR}/build/deps")
  set(BITNET_DEPS_DIR "${PROJECT_SOURCE_DIR}/build/deps" CACHE PATH
      "Prefix for dependencies that the system lacks; may be empty")
endif()
option(BITNET_FETCH_DEPS "Fetch dependencies that are missing" ON)
if(BITNET_DEPS_DIR)
  list(APPEND CMAKE_PREFIX_PATH "${BITNET_DEPS_DIR}/usr")
endif()

find_package(Threads REQUIRED)

# The table: what we need, the Debian packages, the source archive. Eigen is needed by training only, nlohmann-json by
# public checkpoints only: a project that includes bitnet without its tests gets bitnet::train and bitnet::io if they are
# there, and neither is fetched for it.
set(needed Highway)
if(BITNET_BUILD_TESTS OR BITNET_BUILD_EXAMPLES OR BITNET_BUILD_BENCHMARKS)
  list(APPEND needed Eigen nlohmann_json)
endif()
if(BITNET_BUILD_TESTS)
  list(APPEND needed doctest)
endif()
if(BITNET_BUILD_BENCHMARKS)
  list(APPEND needed benchmark)
endif()

set(Highway_minimum 1.2)
set(Highway_package libhwy-dev)
set(Highway_url https://github.com/google/highway/archive/refs/tags/1.2.0.tar.gz)
set(Highway_sha256 7e0be78b8318e8bdbf6fa545d2ecb4c90f947df03f7aadc42c1967f019e63343)

set(Eigen_minimum 3.4)
set(Eigen_package libeigen3-dev)
set(Eigen_url https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.bz2)
set(Eigen_sha256 b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626)

set(nlohmann_json_minimum 3.11)
set(nlohmann_json_package nlohmann-json3-dev)
set(nlohmann_json_url https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz)
set(nlohmann_json_sha256 d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)

set(doctest_minimum 2.4)
set(doctest_package doctest-dev)
set(doctest_url https://github.com/doctest/doctest/archive/refs/tags/v2.4.11.tar.gz)
set(doctest_sha256 632ed2c05a7f53fa961381497bf8069093f0d6628c5f26286161fbd32a560186)

set(benchmark_minimum 1.6)
set(benchmark_package libbenchmark-dev)
set(benchmark_url https://github.com/google/benchmark/archive/refs/tags/v1.8.3.tar.gz)
set(benchmark_sha256 6bc180a57d23d4d9515519f92b0c83d61b05b5bab188961f36ac7b06b0d9e9ce)

# Steps 1 and 2: sets `missing` to the names of `needed` that are not found.
macro(bitnet_find_dependencies)
  set(CMAKE_MODULE_PATH_SAVED "${CMAKE_MODULE_PATH}")
  list(PREPEND CMAKE_MODULE_PATH "${PROJECT_SOURCE_DIR}/cmake")
  find_package(HighwayHeaders ${Highway_minimum} MODULE QUIET)
  set(CMAKE_MODULE_PATH "${CMAKE_MODULE_PATH_SAVED}")
  if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 ${Eigen_minimum} CONFIG QUIET)
  endif()
  if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 5 CONFIG QUIET)  # Its config accepts requests for its own major version only.
  endif()
  if(NOT TARGET nlohmann_json::nlohmann_json)
    find_package(nlohmann_json ${nlohmann_json_minimum} CONFIG QUIET)
  endif()
  if("doctest" IN_LIST needed AND NOT TARGET doctest::doctest)
    # By its header: Debian's package config holds only where the package is installed in /usr.
    find_path(DOCTEST_INCLUDE_DIR doctest/doctest.h)
    mark_as_advanced(DOCTEST_INCLUDE_DIR)
    if(DOCTEST_INCLUDE_DIR)
      add_library(doctest::doctest INTERFACE IMPORTED)
      target_include_directories(doctest::doctest INTERFACE "${DOCTEST_INCLUDE_DIR}")
    endif()
  endif()
  if("benchmark" IN_LIST needed AND NOT TARGET benchmark::benchmark)
    find_package(benchmark ${benchmark_minimum} CONFIG QUIET)
  endif()

  set(missing ${needed})
  foreach(pair Highway=Highway::headers Eigen=Eigen3::Eigen nlohmann_json=nlohmann_json::nlohmann_json
          doctest=doctest::doctest benchmark=benchmark::benchmark)
    string(REGEX MATCH "^([^=]+)=(.+)$" unused "${pair}")
    if(TARGET ${CMAKE_MATCH_2})
      list(REMOVE_ITEM missing ${CMAKE_MATCH_1})
    endif()
  endforeach()
endmacro()

bitnet_find_dependencies()

# Step 3.
find_program(APT_GET_COMMAND apt-get)
mark_as_advanced(APT_GET_COMMAND)
if(missing AND BITNET_FETCH_DEPS AND BITNET_DEPS_DIR AND APT_GET_COMMAND)
  message(STATUS "bitnet: fetching into ${BITNET_DEPS_DIR}: ${missing}")
  set(packages "")
  foreach(name IN LISTS missing)
    list(APPEND packages "${${name}_package}>=${${name}_minimum}")
  endforeach()
  execute_process(COMMAND "${PROJECT_SOURCE_DIR}/cmake/get_debian_packages.sh" "${BITNET_DEPS_DIR}" ${packages})
  bitnet_find_dependencies()
endif()

# Step 4. The archive is downloaded by hand first, because FetchContent's own failure is a page long.
include(FetchContent)
if(POLICY CMP0135)
  cmake_policy(SET CMP0135 NEW)
endif()
foreach(name IN LISTS missing)
  set(remedy "install ${name} ${${name}_minimum} or newer (Debian: ${${name}_package}) \
and put its prefix on CMAKE_PREFIX_PATH")
  if(NOT BITNET_FETCH_DEPS)
    message(FATAL_ERROR "bitnet: ${name} is missing; ${remedy}, or set BITNET_FETCH_DEPS=ON.")
  endif()
  get_filename_component(archive "${${name}_url}" NAME)
  set(archive "${PROJECT_BINARY_DIR}/_deps/${name}-${archive}")
  message(STATUS "bitnet: fetching ${${name}_url}")
  file(DOWNLOAD "${${name}_url}" "${archive}" STATUS download INACTIVITY_TIMEOUT 20)
  list(GET download 0 download_failed)
  if(NOT download_failed)
    file(SHA256 "${archive}" download_sha256)
  endif()
  if(download_failed OR NOT download_sha256 STREQUAL ${name}_sha256)
    file(REMOVE "${archive}")
    message(FATAL_ERROR "bitnet: ${name} is missing and could not be downloaded from ${${name}_url}; ${remedy}.")
  endif()

  if(name STREQUAL "benchmark")
    set(BENCHMARK_ENABLE_TESTING OFF)
    set(BENCHMARK_ENABLE_GTEST_TESTS OFF)
    set(BENCHMARK_ENABLE_INSTALL OFF)
    set(BENCHMARK_ENABLE_WERROR OFF)
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # Its option() commands heed the variables above.
    FetchContent_Declare(bitnet_${name} URL "${archive}" URL_HASH "SHA256=${${name}_sha256}")
    FetchContent_MakeAvailable(bitnet_${name})
  else()
    # Headers alone: SOURCE_SUBDIR names no folder, so that its CMakeLists.txt is not run.
    FetchContent_Declare(bitnet_${name} URL "${archive}" URL_HASH "SHA256=${${name}_sha256}"
                         SOURCE_SUBDIR headers-alone)
    FetchContent_MakeAvailable(bitnet_${name})
    string(TOLOWER "bitnet_${name}" content)
    set(target ${name}::${name})
    set(folder "${${content}_SOURCE_DIR}")
    if(name STREQUAL "Highway")
      set(target Highway::headers)
    elseif(name STREQUAL "Eigen")
      set(target Eigen3::Eigen)
    elseif(name STREQUAL "nlohmann_json")
      string(APPEND folder "/include")
    endif()
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} INTERFACE "${folder}")
  endif()
endforeach()

# A project that includes bitnet links these from its own folders, so they must be visible there.
get_directory_property(imported_here IMPORTED_TARGETS)
foreach(target Highway::headers Eigen3::Eigen nlohmann_json::nlohmann_json Threads::Threads)
  if(target IN_LIST imported_here)
    set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endforeach()
