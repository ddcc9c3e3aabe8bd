// Proof that a device computes what the reference does.
#ifndef MODEL_TEST_H_
#define MODEL_TEST_H_

#include "tensorflow/lite/micro/micro_interpreter.h"

namespace model {

// Runs every test vector and prints the first difference.
//
// Returns the number of vectors whose outputs are not those of the reference, to the last byte: 0
// if the device is right, and -1 if the network cannot be run.
int WrongVectors(tflite::MicroInterpreter& interpreter);

}  // namespace model

#endif  // MODEL_TEST_H_
