// Package execlog reads the execution log that Bazel writes with
// --execution_log_json_file: the commands that a build ran or took from a
// cache, with all that their cache keys are made of. It does not read the
// binary and the compact form of the log.
//
// The log has no entry for an action that Bazel does by itself (a symlink, a
// file of its own text) or need not do (its output is there already).
package execlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reader reads a log entry by entry.
type Reader struct {
	decoder *json.Decoder
	entry   int
	// names holds each path, digest and argument once: they repeat in most
	// entries and are most of the log.
	names map[string]string
}

// NewReader returns a Reader for a log.
func NewReader(r io.Reader) *Reader {
	return &Reader{
		decoder: json.NewDecoder(r),
		names:   map[string]string{},
	}
}

// Next returns the next entry, and at the end io.EOF. Its other errors name the
// offset in bytes; none of them is io.EOF.
func (r *Reader) Next() (*Spawn, error) {
	start := r.decoder.InputOffset()
	var spawn Spawn
	err := r.decoder.Decode(&spawn)
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	r.entry++
	if err == nil && spawn.Mnemonic == "" {
		err = errors.New("it has no mnemonic, so it is no command")
	}
	if err != nil {
		return nil, fmt.Errorf("read entry %d at byte %d: %w", r.entry, r.offset(start, err), err)
	}
	r.share(&spawn)
	return &spawn, nil
}

// offset says where an error is, in bytes from the log's start.
func (r *Reader) offset(start int64, err error) int64 {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return syntax.Offset - 1 // counts what was read, the wrong byte included
	case errors.As(err, &mismatch):
		return start + mismatch.Offset
	default:
		return start
	}
}

// share replaces the strings of a spawn by equal ones of earlier spawns.
func (r *Reader) share(spawn *Spawn) {
	for _, list := range [][]string{spawn.Args, spawn.ListedOutputs} {
		for i := range list {
			r.shareString(&list[i])
		}
	}
	for _, list := range [][]Variable{spawn.Env, spawn.Platform.Properties} {
		for i := range list {
			r.shareString(&list[i].Name)
			r.shareString(&list[i].Value)
		}
	}
	for _, list := range [][]File{spawn.Inputs, spawn.Outputs} {
		for i := range list {
			r.shareString(&list[i].Path)
			r.shareString(&list[i].Digest.Hash)
		}
	}
}

func (r *Reader) shareString(s *string) {
	shared, ok := r.names[*s]
	if !ok {
		// A copy: the decoder's strings may be parts of larger ones.
		shared = strings.Clone(*s)
		r.names[shared] = shared
	}
	*s = shared
}
