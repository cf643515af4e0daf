# Headers, and a package config that is the same on every architecture.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/bitnet")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/bitnet" DESTINATION include)
install(TARGETS bitnet EXPORT bitnet)
install(EXPORT bitnet NAMESPACE bitnet:: FILE bitnetTargets.cmake DESTINATION "${package_dir}")
# The targets that need another library: their exports are read only where that is found.
foreach(part train io cuda)
  set(bitnet_has_${part} 0)
  if(TARGET bitnet_${part})
    set(bitnet_has_${part} 1)
    install(TARGETS bitnet_${part} EXPORT bitnet_${part})
    install(EXPORT bitnet_${part} NAMESPACE bitnet:: FILE bitnet_${part}Targets.cmake DESTINATION "${package_dir}")
  endif()
endforeach()

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/bitnetConfig.cmake.in" bitnetConfig.cmake
                              INSTALL_DESTINATION "${package_dir}")
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(bitnetConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/bitnetConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/bitnetConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindHighwayHeaders.cmake" "${PROJECT_SOURCE_DIR}/cmake/RefuseFastMath.cmake"
        DESTINATION "${package_dir}")
