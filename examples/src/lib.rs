//! Examples of Millstream: one idea per file under `examples/examples`, each ends in an assert.
