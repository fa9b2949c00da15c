// C++ functions and a class for Python, none of which knows cyray: pybind_main.py makes tasks and
// an actor of them.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace py = pybind11;

namespace {

// Steps until the Collatz sequence of `n` reaches 1.
int64_t CollatzLength(int64_t n) {
  if (n < 1) throw std::invalid_argument("n must be positive");
  int64_t steps = 0;
  for (; n != 1; ++steps) n = n % 2 == 0 ? n / 2 : 3 * n + 1;
  return steps;
}

// The start below `limit` with the longest sequence. Runs without the GIL.
int64_t LongestCollatz(int64_t limit) {
  int64_t best = 1, length = 0;
  for (int64_t n = 1; n < limit; ++n) {
    const int64_t steps = CollatzLength(n);
    if (steps > length) {
      length = steps;
      best = n;
    }
  }
  return best;
}

// Reads a NumPy array in place, also one that is a read-only view of shared memory.
double SumOfSquares(const py::array_t<double, py::array::c_style>& values) {
  const double* data = values.data();
  double sum = 0;
  for (py::ssize_t i = 0; i < values.size(); ++i) sum += data[i] * data[i];
  return sum;
}

// A window of the last `size` numbers.
class MovingAverage {
 public:
  explicit MovingAverage(size_t size) : window_(size) {
    if (size == 0) throw std::invalid_argument("size must be positive");
  }
  double Add(double value) {
    sum_ += value - window_[at_];
    window_[at_] = value;
    at_ = (at_ + 1) % window_.size();
    if (count_ < window_.size()) ++count_;
    return sum_ / static_cast<double>(count_);
  }

 private:
  std::vector<double> window_;
  size_t at_ = 0, count_ = 0;
  double sum_ = 0;
};

}  // namespace

PYBIND11_MODULE(pybind_examples, m) {
  m.doc() = "C++ functions and a class, as tasks and an actor";
  m.def("collatz_length", &CollatzLength, py::arg("n"));
  m.def("longest_collatz", &LongestCollatz, py::arg("limit"),
        py::call_guard<py::gil_scoped_release>());
  m.def("sum_of_squares", &SumOfSquares, py::arg("values"));
  py::class_<MovingAverage>(m, "MovingAverage")
      .def(py::init<size_t>(), py::arg("size"))
      .def("add", &MovingAverage::Add, py::arg("value"));
}
