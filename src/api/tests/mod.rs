//! The whole HTTP surface while the model loads, without a model. Answers of a loaded one are tested
//! on the binary.

mod connections;
mod loading;
mod routes;
