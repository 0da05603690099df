// Package vm is the host's side of a running VM: what a launcher does with the
// serial console, and how the guest's application ended.
//
// The disks that it boots from are made by the packages below it.
package vm
