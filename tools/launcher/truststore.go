package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"unicode/utf16"
)

// trustStore turns certificates in PEM into Java's own format, JKS: Bazel's JVM
// is to trust whom the machine trusts, which may be a company's own authority.
// The format is in the source of sun.security.provider.JavaKeyStore.
func trustStore(bundle []byte) []byte {
	const (
		magic, version = 0xFEEDFEED, 2
		trusted        = uint32(2)
		password       = "changeit" // Java's default; it protects nothing
	)
	var entries bytes.Buffer
	text := func(s string) {
		entries.Write(binary.BigEndian.AppendUint16(nil, uint16(len(s))))
		entries.WriteString(s)
	}
	count := uint32(0)
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		entries.Write(binary.BigEndian.AppendUint32(nil, trusted))
		text(fmt.Sprintf("ca-%d", count))
		entries.Write(make([]byte, 8)) // date of entry
		text("X.509")
		entries.Write(binary.BigEndian.AppendUint32(nil, uint32(len(block.Bytes))))
		entries.Write(block.Bytes)
		count++
	}
	var store []byte
	for _, field := range []uint32{magic, version, count} {
		store = binary.BigEndian.AppendUint32(store, field)
	}
	store = append(store, entries.Bytes()...)

	var secret []byte
	for _, unit := range utf16.Encode([]rune(password)) {
		secret = binary.BigEndian.AppendUint16(secret, unit)
	}
	sum := sha1.Sum(append(append(secret, "Mighty Aphrodite"...), store...))
	return append(store, sum[:]...)
}
