package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/tools/internal/execlog"
)

// action is how an action is found in both logs.
type action struct {
	Mnemonic string `json:"mnemonic"`
	Label    string `json:"label"`
	Output   string `json:"output"`            // the first one declared
	Attempt  int    `json:"attempt,omitempty"` // counts from 0; tests have several where they are flaky
}

func (a action) String() string {
	text := strings.TrimSpace(a.Mnemonic + " " + a.Label + " " + a.Output)
	if a.Attempt > 0 {
		text += fmt.Sprintf(" (attempt %d)", a.Attempt+1)
	}
	return text
}

func compareActions(a, b action) int {
	return cmp.Or(
		strings.Compare(a.Label, b.Label),
		strings.Compare(a.Mnemonic, b.Mnemonic),
		strings.Compare(a.Output, b.Output),
		cmp.Compare(a.Attempt, b.Attempt),
	)
}

// side is what is kept of one log.
type side struct {
	summary  execlog.Summary
	attempts map[action]int    // by action with Attempt 0
	outputs  map[string]string // content by path, of what actions made
}

// difference is an action that is in both logs and not the same.
type difference struct {
	action  action
	changes []change
}

// comparison takes in the log of build A, then that of build B. Of A it keeps
// the actions until B has them too, of B what differs.
type comparison struct {
	a, b        side
	unmatched   map[action]*execlog.Spawn // of A
	onlyB       []action
	differences []difference // as B has them, in which inputs' actions come first
	restricted  map[action][]string
}

func newComparison() *comparison {
	newSide := func() side {
		return side{attempts: map[action]int{}, outputs: map[string]string{}}
	}
	return &comparison{
		a:          newSide(),
		b:          newSide(),
		unmatched:  map[action]*execlog.Spawn{},
		restricted: map[action][]string{},
	}
}

func (c *comparison) addA(spawn *execlog.Spawn) error {
	c.unmatched[c.add(&c.a, spawn)] = spawn
	return nil
}

func (c *comparison) addB(b *execlog.Spawn) error {
	id := c.add(&c.b, b)
	a, ok := c.unmatched[id]
	if !ok {
		c.onlyB = append(c.onlyB, id)
		return nil
	}
	delete(c.unmatched, id)
	changes, err := diffKey(a, b)
	if err == nil && len(changes) == 0 {
		changes, err = diffResult(a, b)
	}
	if err != nil {
		return fmt.Errorf("compare %s: %w", id, err)
	}
	if len(changes) > 0 {
		c.differences = append(c.differences, difference{id, changes})
	}
	return nil
}

func (c *comparison) add(s *side, spawn *execlog.Spawn) action {
	id := action{Mnemonic: spawn.Mnemonic, Label: spawn.Label}
	if len(spawn.ListedOutputs) > 0 {
		id.Output = spawn.ListedOutputs[0]
	}
	s.attempts[id]++
	id.Attempt = s.attempts[id] - 1
	s.summary.Add(spawn)
	for _, file := range spawn.Outputs {
		s.outputs[file.Path] = file.Content()
	}
	if why := restrictions(spawn); why != nil {
		c.restricted[id] = why
	}
	return id
}

// restrictions says what keeps an action from being shared or from running on
// another machine.
func restrictions(spawn *execlog.Spawn) []string {
	var why []string
	if !spawn.Remotable {
		why = append(why, "not remotable")
	}
	switch {
	case !spawn.Cacheable:
		why = append(why, "not cacheable")
	case !spawn.RemoteCacheable:
		why = append(why, "not in a shared cache")
	}
	return why
}

// report puts causes before what follows from them.
func (c *comparison) report() *report {
	r := &report{
		Causes:     []cause{},
		OnlyInA:    slices.AppendSeq([]action{}, maps.Keys(c.unmatched)),
		OnlyInB:    append([]action{}, c.onlyB...),
		Restricted: []restricted{},
		A:          newSummary(c.a.summary),
		B:          newSummary(c.b.summary),
	}
	slices.SortFunc(r.OnlyInA, compareActions)
	slices.SortFunc(r.OnlyInB, compareActions)
	for _, id := range slices.SortedFunc(maps.Keys(c.restricted), compareActions) {
		r.Restricted = append(r.Restricted, restricted{id, c.restricted[id]})
	}
	made := c.madeChanges()
	actions := map[change][]action{}
	for _, d := range c.differences {
		own := slices.DeleteFunc(slices.Clone(d.changes), func(ch change) bool { return c.follows(ch, made) })
		if len(own) == 0 {
			r.Consequences++
		}
		for _, ch := range own {
			actions[ch] = append(actions[ch], d.action)
		}
	}
	for ch, list := range actions {
		r.Causes = append(r.Causes, cause{ch, list})
	}
	slices.SortFunc(r.Causes, func(x, y cause) int {
		return cmp.Or(
			-cmp.Compare(len(x.Actions), len(y.Actions)),
			cmp.Compare(x.Kind, y.Kind),
			strings.Compare(x.Name, y.Name),
			strings.Compare(x.A.String(), y.A.String()),
			strings.Compare(x.B.String(), y.B.String()),
		)
	})
	r.Equal = len(c.differences)+len(r.OnlyInA)+len(r.OnlyInB) == 0
	return r
}

// contentChange is a file's content in A and in B.
type contentChange struct{ a, b string }

// madeChanges gives the changes of content for which an action is to blame.
func (c *comparison) madeChanges() map[contentChange]bool {
	made := map[contentChange]bool{}
	for path, a := range c.a.outputs {
		if b, ok := c.b.outputs[path]; ok && a != b {
			made[contentChange{a, b}] = true
		}
	}
	return made
}

// follows tells whether a change is a consequence: an input that an action has
// made, which the report names. Bazel itself links and copies files to other
// paths, in runfiles for one, which the log does not tell: there, what changed
// like an action's output is taken for it.
func (c *comparison) follows(ch change, made map[contentChange]bool) bool {
	if ch.Kind != kindInput {
		return false
	}
	a, okA := c.a.outputs[ch.Name]
	b, okB := c.b.outputs[ch.Name]
	if okA || okB {
		return okA != okB || a != b
	}
	return ch.A.set && ch.B.set && made[contentChange{ch.A.text, ch.B.text}]
}
