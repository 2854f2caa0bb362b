# SPDX-License-Identifier: Apache-2.0
"""The text of the files of a C package; `c_package` fills in what depends on the model."""

from __future__ import annotations

import textwrap
from string import Template

import numpy as np

__all__ = [
    "CMAKE",
    "MAIN",
    "MODEL_C",
    "MODEL_H",
    "OPERATORS_H",
    "VECTOR_C",
    "VECTOR_H",
    "array",
    "comment",
]

_PER_LINE = 20


def array(numbers: bytes | np.ndarray) -> str:
    """The inside of an initializer, `_PER_LINE` numbers a line.

    Example:
        >>> array(b"ab"), array(np.array([0.1, np.inf], np.float32))
        ('  97, 98,', '  0.1f, INFINITY,')
    """
    if isinstance(numbers, bytes):
        texts = [str(number) for number in numbers]
    elif numbers.dtype.kind == "f":
        texts = [_float(number) for number in numbers.reshape(-1)]
    else:
        texts = [str(number) for number in numbers.reshape(-1).tolist()]
    lines = (texts[start : start + _PER_LINE] for start in range(0, len(texts), _PER_LINE))
    return "\n".join("  " + ", ".join(line) + "," for line in lines)


def _float(number: np.float32) -> str:
    if np.isfinite(number):
        return f"{number!s}f"
    return "NAN" if np.isnan(number) else "INFINITY" if number > 0 else "-INFINITY"


def comment(paragraphs: list[str]) -> str:
    """Paragraphs as the lines of a C comment; an empty one is an empty line.

    Example:
        >>> print(comment(["in 'a'", "", "out"]))
        // in 'a'
        //
        // out
    """
    lines = [line for text in paragraphs for line in textwrap.wrap(text, 96) or [""]]
    return "\n".join(f"// {line}".rstrip() for line in lines)


MODEL_H = Template("""\
// $origin
//
$told
#ifndef ${guard}_H_
#define ${guard}_H_

#include <stddef.h>
#include <stdint.h>

// RAM for the tensors of TFLite Micro, in bytes.
$arenas
// After AllocateTensors() the interpreter's arena_used_bytes() says what your build keeps of it;
// AllocateTensors() itself may need more.
#if UINTPTR_MAX > 0xFFFFFFFF
#define ${guard}_ARENA_BYTES $arena
#else
#define ${guard}_ARENA_BYTES $cortex_m
#endif

#ifdef __cplusplus
extern "C" {
#endif

// The .tflite file, at an address that is a multiple of 16.
extern const unsigned char ${name}_data[];
extern const size_t ${name}_size;

#ifdef __cplusplus
}
#endif

#endif  // ${guard}_H_
""")

MODEL_C = Template("""\
// $origin
#include "$name.h"

_Alignas(16) const unsigned char ${name}_data[] = {
$bytes
};
const size_t ${name}_size = sizeof(${name}_data);
""")

OPERATORS_H = Template("""\
// The operators of the model, and no others: kernels that are not named here are not linked.
#ifndef ${guard}_OPERATORS_H_
#define ${guard}_OPERATORS_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

using ${camel}Resolver = tflite::MicroMutableOpResolver<$count>;

inline TfLiteStatus Add${camel}Operators(${camel}Resolver& resolver) {
$adds
  return kTfLiteOk;
}

#endif  // ${guard}_OPERATORS_H_
""")

VECTOR_H = Template("""\
// One example: what goes into the model, and $expected.
#ifndef ${guard}_TEST_VECTOR_H_
#define ${guard}_TEST_VECTOR_H_

#include <stddef.h>

#define ${guard}_INPUTS $inputs
#define ${guard}_OUTPUTS $outputs
// The largest difference that is allowed: of stored integers, or of real numbers relative to the
// largest expected one. Optimized kernels may round otherwise than the reference ones.
#define ${guard}_INTEGER_TOLERANCE 1
#define ${guard}_REAL_TOLERANCE 1e-4f

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  ${guard}_INT8, ${guard}_UINT8, ${guard}_INT16, ${guard}_INT32, ${guard}_FLOAT
} ${name}_type;

typedef struct {
  const void* data;
  size_t count;
  size_t bytes;
  ${name}_type type;
} ${name}_tensor;

extern const ${name}_tensor ${name}_inputs[${guard}_INPUTS];
extern const ${name}_tensor ${name}_outputs[${guard}_OUTPUTS];

#ifdef __cplusplus
}
#endif

#endif  // ${guard}_TEST_VECTOR_H_
""")

VECTOR_C = Template("""\
#include "${name}_test_vector.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

$arrays

const ${name}_tensor ${name}_inputs[${guard}_INPUTS] = {
$inputs
};
const ${name}_tensor ${name}_outputs[${guard}_OUTPUTS] = {
$outputs
};
""")

MAIN = Template("""\
$does
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "$name.h"
#include "${name}_operators.h"
#include "${name}_test_vector.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) uint8_t arena[${guard}_ARENA_BYTES];

template <typename T>
float At(const void* data, size_t index) {
  return static_cast<float>(static_cast<const T*>(data)[index]);
}

float Value(const void* data, size_t index, ${name}_type type) {
  switch (type) {
    case ${guard}_INT8:
      return At<int8_t>(data, index);
    case ${guard}_UINT8:
      return At<uint8_t>(data, index);
    case ${guard}_INT16:
      return At<int16_t>(data, index);
    case ${guard}_INT32:
      return At<int32_t>(data, index);
    default:
      return At<float>(data, index);
  }
}

bool Same(const void* data, const ${name}_tensor& expected) {
  float largest = 0.0f, difference = 0.0f;
  for (size_t i = 0; i < expected.count; ++i) {
    const float want = Value(expected.data, i, expected.type);
    const float apart = std::fabs(Value(data, i, expected.type) - want);
    // Written so that a NaN counts as a difference.
    if (!(apart <= difference)) difference = apart;
    if (std::fabs(want) > largest) largest = std::fabs(want);
  }
  const float allowed = expected.type == ${guard}_FLOAT ? ${guard}_REAL_TOLERANCE * largest
                                                        : ${guard}_INTEGER_TOLERANCE;
  return difference <= allowed;
}

int Failed(int step, const char* what) {
  std::printf("failed: %s\\n", what);
  return step;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  const tflite::Model* model = tflite::GetModel(${name}_data);
  if (model->version() != 3) return Failed(1, "version of the file format");

  static ${camel}Resolver resolver;
  if (Add${camel}Operators(resolver) != kTfLiteOk) return Failed(2, "operators");

  static tflite::MicroInterpreter interpreter(model, resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) return Failed(3, "the arena is too small");
  std::printf("arena: %u of %u bytes\\n", static_cast<unsigned>(interpreter.arena_used_bytes()),
              static_cast<unsigned>(sizeof(arena)));

  for (size_t i = 0; i < ${guard}_INPUTS; ++i) {
    TfLiteTensor* input = interpreter.input(i);
    if (input->bytes != ${name}_inputs[i].bytes) return Failed(4, "size of an input");
    std::memcpy(input->data.raw, ${name}_inputs[i].data, input->bytes);
  }
  if (interpreter.Invoke() != kTfLiteOk) return Failed(5, "inference");
  for (size_t i = 0; i < ${guard}_OUTPUTS; ++i) {
    const TfLiteTensor* output = interpreter.output(i);
    if (output->bytes != ${name}_outputs[i].bytes) return Failed(6, "size of an output");
    if (${name}_outputs[i].data == nullptr) continue;
    if (!Same(output->data.raw, ${name}_outputs[i])) return Failed(7, "an output differs");
  }
  std::printf("$passed\\n");
  return 0;
}
""")

CMAKE = Template("""\
# The model as a library for your program, and a test of it with TFLite Micro:
#   cmake -B build -DTFLM_ROOT=<checkout of tflite-micro> -DTFLM_LIBRARY=<libtensorflow-microlite.a>
#   cmake --build build && build/${name}_test
# The library is built in that checkout by
#   make -f tensorflow/lite/micro/tools/make/Makefile microlite$settings
cmake_minimum_required(VERSION 3.16)
project($name C CXX)
set(CMAKE_C_STANDARD 11)
set(CMAKE_CXX_STANDARD 17)

add_library(${name}_data STATIC $name.c)
target_include_directories(${name}_data PUBLIC $${CMAKE_CURRENT_SOURCE_DIR})

set(TFLM_ROOT "" CACHE PATH "checkout of tflite-micro")
set(TFLM_LIBRARY "" CACHE FILEPATH "libtensorflow-microlite.a, built from that checkout")
if(TFLM_ROOT AND TFLM_LIBRARY)
  set(TFLM_DOWNLOADS $${TFLM_ROOT}/tensorflow/lite/micro/tools/make/downloads)
  add_executable(${name}_test main.cc ${name}_test_vector.c)
  # Without this definition tensors have another layout than in the library.
  target_compile_definitions(${name}_test PRIVATE TF_LITE_STATIC_MEMORY)
  target_include_directories(${name}_test SYSTEM PRIVATE $${TFLM_ROOT}
    $${TFLM_DOWNLOADS}/flatbuffers/include $${TFLM_DOWNLOADS}/gemmlowp $${TFLM_DOWNLOADS}/ruy)
  target_link_libraries(${name}_test PRIVATE ${name}_data $${TFLM_LIBRARY} m)
  enable_testing()
  add_test(NAME $name COMMAND ${name}_test)
endif()
""")
