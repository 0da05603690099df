// Package initrd has the tests of the initrd that this tree makes: they read it
// back with a decoder that is not ours and look at the programs in it.
package initrd
