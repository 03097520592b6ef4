package authz

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is something that tokens can be allowed to do.
type Scope struct {
	// Name is a scope-token of RFC 6749 section 3.3, at most [MaxScope] bytes.
	Name string
	// Description is for people.
	Description string
	// Includes are the names of other declared scopes that this one allows too,
	// and with them all that those include: "repo" may include "repo:status", and
	// "write:user" may include "read:user". Nothing is read from the names.
	Includes []string
}

// ScopeNames returns scopes with these names alone, for Config.Scopes. Without
// names the list is empty, not nil: no scope is declared, and none may be asked
// for.
func ScopeNames(names ...string) []Scope {
	scopes := make([]Scope, len(names))
	for i, name := range names {
		scopes[i].Name = name
	}
	return scopes
}

// cloneScopes returns a copy that shares nothing.
func cloneScopes(scopes []Scope) []Scope {
	scopes = slices.Clone(scopes)
	for i := range scopes {
		scopes[i].Includes = slices.Clone(scopes[i].Includes)
	}
	return scopes
}

// scopeNames returns nil for nil.
func scopeNames(scopes []Scope) (names []string) {
	for _, s := range scopes {
		names = append(names, s.Name)
	}
	return names
}

// scopeRules hold, by its name, what each declared scope includes: directly or by way
// of others, itself not. Nil declares nothing, allows any and includes none.
type scopeRules map[string]map[string]bool

// newScopeRules returns an error that names the scope at fault.
func newScopeRules(scopes []Scope) (scopeRules, error) {
	if scopes == nil {
		return nil, nil
	}
	byName := make(map[string]Scope, len(scopes))
	for _, s := range scopes {
		if !validScope(s.Name) {
			return nil, fmt.Errorf("%q is no scope-token (RFC 6749 section 3.3) of at most %d bytes", s.Name, MaxScope)
		}
		if _, twice := byName[s.Name]; twice {
			return nil, fmt.Errorf("%q is there twice", s.Name)
		}
		byName[s.Name] = s
	}
	rules := make(scopeRules, len(scopes))
	var path []string // from the scope that is looked into, down to the current one
	var resolve func(name string) error
	resolve = func(name string) error {
		if i := slices.Index(path, name); i >= 0 {
			return fmt.Errorf("%q includes itself: %s", name, strings.Join(append(path[i:], name), " > "))
		}
		if rules[name] != nil {
			return nil
		}
		path = append(path, name)
		all := make(map[string]bool)
		for i, included := range byName[name].Includes {
			if _, declared := byName[included]; !declared {
				return fmt.Errorf("%q includes %q, which is not declared", name, included)
			}
			if slices.Contains(byName[name].Includes[:i], included) {
				return fmt.Errorf("%q includes %q twice", name, included)
			}
			if err := resolve(included); err != nil {
				return err
			}
			all[included] = true
			for further := range rules[included] {
				all[further] = true
			}
		}
		path = path[:len(path)-1]
		rules[name] = all
		return nil
	}
	for _, s := range scopes {
		if err := resolve(s.Name); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// declares reports whether a scope may be asked for.
func (rules scopeRules) declares(scope string) bool { return rules == nil || rules[scope] != nil }

// allow reports whether who holds some scopes may do what one more stands for.
func (rules scopeRules) allow(held []string, scope string) bool {
	for _, h := range held {
		if h == scope || rules[h][scope] {
			return true
		}
	}
	return false
}

// reduce drops what others of the list include, and keeps the order: the normal form
// of a list without duplicates. The list itself stays as it is.
func (rules scopeRules) reduce(scopes []string) []string {
	var implied map[string]bool
	for _, s := range scopes {
		for included := range rules[s] {
			if implied == nil {
				implied = make(map[string]bool)
			}
			implied[included] = true
		}
	}
	if implied == nil {
		return scopes
	}
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return implied[s] })
}

// beyond returns what is asked for and not allowed to who holds some scopes.
func (rules scopeRules) beyond(asked, held []string) []string {
	return slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return rules.allow(held, s) })
}

// same reports whether two lists without duplicates allow the same. Records can be
// older than what is declared now: not all are in normal form.
func (rules scopeRules) same(a, b []string) bool {
	return sameSet(a, b) || rules != nil && sameSet(rules.reduce(a), rules.reduce(b))
}

// Scopes returns a copy of Config.Scopes: nil if any scope may be asked for.
func (m *Manager) Scopes() []Scope { return cloneScopes(m.cfg.Scopes) }

// Allows reports whether an authorization has all of these scopes, by name or
// because one that it has includes them. It asks no store and allocates nothing: a
// comes from [Manager.Verify] or [FromContext]. What is not held is not allowed, the
// zero Authorization allows nothing, nil not even that: without scopes to look for, the
// answer is true for all others.
func (m *Manager) Allows(a *Authorization, scopes ...string) bool {
	if a == nil {
		return false
	}
	for _, s := range scopes {
		if !m.scopes.allow(a.Scopes, s) {
			return false
		}
	}
	return true
}
