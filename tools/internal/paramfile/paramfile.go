// Package paramfile reads the files in which Bazel gives long command lines to
// tools.
package paramfile

import (
	"fmt"
	"os"
	"strings"
)

// Expand replaces an argument @FILE by the lines of that file, each one an
// argument as it stands, as Bazel writes them in the format "multiline". A line
// @FILE is no file again.
func Expand(args []string) ([]string, error) {
	var expanded []string
	for _, arg := range args {
		name, ok := strings.CutPrefix(arg, "@")
		if !ok {
			expanded = append(expanded, arg)
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read param file: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			expanded = append(expanded, strings.TrimSuffix(line, "\n"))
		}
	}
	return expanded, nil
}
