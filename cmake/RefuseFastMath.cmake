# bitnet_refuse_fast_math(): ends with a sentence where kernels would be compiled with other arithmetic than IEEE 754's,
# whose results would not be those of CPUs. No macro tells the code itself. (What comes by other ways than these
# variables, CudaBackend::Create finds when the program runs.)
function(bitnet_refuse_fast_math)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
  foreach(variable CMAKE_CUDA_FLAGS CMAKE_CUDA_FLAGS_${type})
    if("${${variable}}" MATCHES "-use_fast_math|-ftz[= ]true|-prec-div[= ]false|-prec-sqrt[= ]false")
      message(FATAL_ERROR "bitnet: ${variable} has ${CMAKE_MATCH_0}: the results of kernels would not be those of CPUs; \
take it out.")
    endif()
  endforeach()
endfunction()
