//! What extensions of iptables mean: rules that the real programs load, as bytes that the kernel gives back, against
//! what the manual says of single packets. Needs root, or user namespaces.

mod bytes;
mod corpus;
mod frames;
mod kernel;
mod matches;
mod sets;
mod support;
mod targets;
