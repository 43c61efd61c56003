//! Load generators and the benchmark harness of Millstream.
