// Package treecopy moves files and trees between a file system and a stream:
// it walks a tree, writes it as a tar stream, and makes what such a stream
// describes below one directory. The agent in the guest and its client on the
// host share it.
//
// Memory is bounded by the depth of a tree, the names in one directory and the
// number of files with several hard links. It holds no tree in memory, as
// internal/fstree does, and applies no layers.
package treecopy
