package markdown

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain words", "plain words"},
		{"<b>*a*</b>", `\<b\>\*a\*\<\/b\>`},
		{"1. one\n- two", "1\\. one\n\\- two"},
		{"https://host", `https\:\/\/host`},
	}
	for _, test := range tests {
		if got := Text(test.in); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

func TestProse(t *testing.T) {
	tests := []struct{ in, want string }{
		{"`a|b` and *c*", "`a\\|b` and \\*c\\*"},
		{"one ` alone", "one \\` alone"},
	}
	for _, test := range tests {
		if got := Prose(test.in); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

func TestCodeBlock(t *testing.T) {
	if got, want := CodeBlock("a\n```\nb\n"), "````\na\n```\nb\n````\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	got := Table([]string{"a", "b"}, [][]string{{"1", "two\nlines"}})
	if want := "| a | b |\n| --- | --- |\n| 1 | two lines |\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBlocks(t *testing.T) {
	got := Blocks("\none\ntwo:\n    a   b\n      c\n\n\td\nthree\n\nfour\n")
	want := []Block{{"one\ntwo:", false}, {"a   b\n  c", true}, {"d", true}, {"three", false}, {"four", false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzBlocks(f *testing.F) {
	f.Add("one\n\ttwo\n  three\n\n four")
	f.Fuzz(func(t *testing.T, text string) {
		var got strings.Builder
		for _, block := range Blocks(text) {
			if block.Text == "" {
				t.Errorf("%q: got an empty block", text)
			}
			got.WriteString(block.Text)
		}
		without := func(s string) string { return strings.Join(strings.FieldsFunc(s, isBlank), "") }
		if without(got.String()) != without(text) {
			t.Errorf("%q: got %q", text, got.String())
		}
	})
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }
