// Package guestpb is the agent protocol, generated from guest.proto with
// tools/protogen. It holds no behaviour.
package guestpb
