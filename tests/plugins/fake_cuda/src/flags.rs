/// How kernels are compiled, and the header that stands before them.
const FLAGS: [&str; 5] = ["-std=c++17", "-O1", "-fPIC", "-fno-strict-aliasing", "-w"];
