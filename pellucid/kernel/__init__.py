"""Layer 3: loops as data. Groups of a graph's operators become kernels: loop nests over memory, printable as Python."""
