// Package guestpb is the agent protocol, generated from guest.proto and
// agent.proto with tools/protogen. It holds no behaviour.
package guestpb
