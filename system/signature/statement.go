package signature

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/kindling-vm/kindling/system/bundle"
)

const (
	// statementType and predicateType say how to read a payload. Source: in-toto
	// attestation framework v1, statement.
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://github.com/kindling-vm/kindling/artifact-set/v1"

	// manifestName is the subject whose digest is the set's ID.
	manifestName = "manifest.json"
)

// statement is an in-toto statement about an artifact set.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// predicate says what the subjects are together.
type predicate struct {
	SetID string `json:"setID"`
}

// newStatement gives the statement about a set in its one form as bytes.
func newStatement(m *bundle.Manifest) ([]byte, error) {
	id, err := m.ID()
	if err != nil {
		return nil, err
	}
	canonical, err := m.MarshalCanonical()
	if err != nil {
		return nil, err
	}
	// The order of the canonical form is one that the manifest in memory need
	// not have.
	if m, err = bundle.Parse(canonical); err != nil {
		return nil, err
	}
	s := statement{Type: statementType, PredicateType: predicateType, Predicate: predicate{SetID: id}}
	add := func(name, sum string) {
		s.Subject = append(s.Subject, subject{Name: name, Digest: map[string]string{"sha256": sum}})
	}
	add(manifestName, strings.TrimPrefix(id, "sha256:"))
	for _, arch := range m.Architectures {
		for _, file := range arch.Files {
			add(file.Name, file.SHA256)
		}
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	err = encoder.Encode(s)
	return data.Bytes(), err
}

// checkStatement checks that a payload is about the set: its manifest and all of
// its files, in any order, and nothing else. The error of another set is
// ErrOtherSet.
func checkStatement(payload []byte, m *bundle.Manifest) error {
	want, err := newStatement(m)
	if err != nil {
		return err
	}
	gotSubjects, gotID, err := parseStatement(payload)
	if err != nil {
		return err
	}
	wantSubjects, wantID, err := parseStatement(want)
	if err != nil {
		return err
	}
	if gotID != wantID {
		return fmt.Errorf("%w: it is for %s, want %s", ErrOtherSet, gotID, wantID)
	}
	if !maps.Equal(gotSubjects, wantSubjects) {
		return fmt.Errorf("%w: its files are not those of %s", ErrOtherSet, wantID)
	}
	return nil
}

// parseStatement gives the SHA-256 of each subject by its name.
func parseStatement(payload []byte) (subjects map[string]string, id string, err error) {
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, "", fmt.Errorf("parse statement: %w", err)
	}
	if s.Type != statementType || s.PredicateType != predicateType {
		return nil, "", fmt.Errorf("statement has type %q with predicate %q, want %q with %q",
			s.Type, s.PredicateType, statementType, predicateType)
	}
	subjects = map[string]string{}
	for _, subject := range s.Subject {
		if _, ok := subjects[subject.Name]; ok {
			return nil, "", fmt.Errorf("statement has subject %q twice", subject.Name)
		}
		subjects[subject.Name] = subject.Digest["sha256"]
	}
	return subjects, s.Predicate.SetID, nil
}
