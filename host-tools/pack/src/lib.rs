//! Lowers a graph to the packed model format: arena plan, weight packing, writer.
