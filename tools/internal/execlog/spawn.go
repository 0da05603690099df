package execlog

import "encoding/json"

// Spawn is one command, the message SpawnExec of src/main/protobuf/spawn.proto
// in Bazel's sources. Fields that are not here are not read.
type Spawn struct {
	Args            []string    `json:"commandArgs"`
	Env             []Variable  `json:"environmentVariables"`
	Platform        Platform    `json:"platform"`
	Inputs          []File      `json:"inputs"`
	ListedOutputs   []string    `json:"listedOutputs"` // paths, sorted
	Outputs         []File      `json:"actualOutputs"`
	Remotable       bool        `json:"remotable"`       // may run on another machine
	Cacheable       bool        `json:"cacheable"`       // may be in any cache
	RemoteCacheable bool        `json:"remoteCacheable"` // may be in a shared cache; only with Cacheable
	TimeoutMillis   json.Number `json:"timeoutMillis"`   // "" and "0" are no limit
	Mnemonic        string      `json:"mnemonic"`
	Label           string      `json:"targetLabel"` // canonical
	Runner          string      `json:"runner"`      // "remote cache hit", "linux-sandbox", ...
	CacheHit        bool        `json:"cacheHit"`    // in a disk cache or a shared one
	Status          string      `json:"status"`      // "" is success
	ExitCode        int32       `json:"exitCode"`
	Key             Digest      `json:"digest"` // in the caches; zero where none was in use
}

// Variable is a variable of the environment or a property of a platform.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Platform is what a command asks of the machine that runs it.
type Platform struct {
	Properties []Variable `json:"properties"`
}

// File is an input or an output.
type File struct {
	Path   string `json:"path"` // from the execution root, with slashes
	Digest Digest `json:"digest"`
	Target string `json:"symlinkTargetPath"` // of a symlink that is not followed
}

// Digest names content. It is zero for a symlink that is not followed, and may
// be for an empty file.
type Digest struct {
	Hash string      `json:"hash"` // hex digits
	Size json.Number `json:"sizeBytes"`
}

// Content says what is in a file, such that it is equal for equal files only.
func (f File) Content() string {
	switch {
	case f.Target != "":
		return "symlink to " + f.Target
	case f.Digest.Size == "" || f.Digest.Size == "0":
		return "empty file"
	default:
		return f.Digest.Hash
	}
}

// Summary counts what a log has.
type Summary struct {
	Spawns  int
	Shared  int            // of the spawns: may be in a shared cache
	Hits    int            // of those shared: came from a cache
	Runners map[string]int // of the spawns, by Runner
}

// Add counts a spawn.
func (s *Summary) Add(spawn *Spawn) {
	s.Spawns++
	if spawn.RemoteCacheable {
		s.Shared++
		if spawn.CacheHit {
			s.Hits++
		}
	}
	if s.Runners == nil {
		s.Runners = map[string]int{}
	}
	s.Runners[spawn.Runner]++
}
