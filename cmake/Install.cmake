# Headers, and a package config that is the same on every architecture.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/bitnet")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/bitnet" DESTINATION include)
install(TARGETS bitnet EXPORT bitnet)
install(EXPORT bitnet NAMESPACE bitnet:: FILE bitnetTargets.cmake DESTINATION "${package_dir}")
if(TARGET bitnet_train)
  install(TARGETS bitnet_train EXPORT bitnet_train)
  install(EXPORT bitnet_train NAMESPACE bitnet:: FILE bitnetTrainTargets.cmake DESTINATION "${package_dir}")
endif()

set(bitnet_has_train 0)
if(TARGET bitnet_train)
  set(bitnet_has_train 1)
endif()
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/bitnetConfig.cmake.in" bitnetConfig.cmake
                              INSTALL_DESTINATION "${package_dir}")
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(bitnetConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/bitnetConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/bitnetConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindHighwayHeaders.cmake"
        DESTINATION "${package_dir}")
