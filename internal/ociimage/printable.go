package ociimage

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable wraps an error so that its text can go to a terminal: what is not
// printable, but for the end of a line, is escaped as in Go. Errors of decoders
// and of registries quote what others wrote.
func Printable(err error) error { return printableError{err} }

type printableError struct{ err error }

func (e printableError) Unwrap() error { return e.err }

func (e printableError) Error() string {
	var text strings.Builder
	for _, r := range e.err.Error() {
		if r == '\n' || unicode.IsPrint(r) {
			text.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		text.WriteString(quoted[1 : len(quoted)-1])
	}
	return text.String()
}
