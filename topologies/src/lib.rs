//! Millstream: event sourcing, CQRS and stream processing in one engine.
