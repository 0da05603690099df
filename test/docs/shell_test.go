//go:build !vm

package docs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// commandLines are the commands of a block of shell: without remarks, and those
// that go on behind a backslash as one.
func commandLines(text string) (lines []string) {
	text = strings.ReplaceAll(text, "\\\n", "")
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(" "+line, " #")
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// simpleCommands takes a command line apart into the words of its commands. It
// knows quotes, and what goes between commands and behind them.
func simpleCommands(line string) (commands [][]string) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, redirected := false, false
	end := func() {
		if inWord && !redirected {
			words = append(words, word.String())
		}
		redirected = redirected && !inWord
		word.Reset()
		inWord = false
	}
	for _, char := range line {
		switch {
		case quote != 0 && char == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(char)
		case char == '\'' || char == '"':
			quote, inWord = char, true
		case strings.ContainsRune("|&;", char):
			end()
			if len(words) > 0 {
				commands = append(commands, words)
			}
			words = nil
		case char == '<' || char == '>':
			end()
			redirected = true
		case char == ' ':
			end()
		default:
			word.WriteRune(char)
			inWord = true
		}
	}
	end()
	return append(commands, words)
}

func TestShell(t *testing.T) {
	got := commandLines("a b   # remark\n# another\n\nc \\\n  --d 'x  y'\n")
	if diff := cmp.Diff([]string{"a b", "c --d 'x y'"}, got); diff != "" {
		t.Errorf("commandLines (-want +got):\n%s", diff)
	}
	for line, want := range map[string][][]string{
		`a 'b c' "d|e"`:               {{"a", "b c", "d|e"}},
		`a | b -c && d <in >out e`:    {{"a"}, {"b", "-c"}, {"d", "e"}},
		`echo hello > src/greeting`:   {{"echo", "hello"}},
		`k exec -- sh -c 'cat >x; y'`: {{"k", "exec", "--", "sh", "-c", "cat >x; y"}},
	} {
		if diff := cmp.Diff(want, simpleCommands(line)); diff != "" {
			t.Errorf("simpleCommands(%q) (-want +got):\n%s", line, diff)
		}
	}
}

// beforeDash are the words before --, or all.
func beforeDash(words []string) []string {
	if i := slices.Index(words, "--"); i >= 0 {
		return words[:i]
	}
	return words
}
