package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
)

const keyFlagHelp = "file with the key that seals one-time-password seeds; it is made (mode 0600) if it does not exist, and all nodes need the same one (default: beside an SQLite file PATH.key, for PostgreSQL authz/authz.key in the user's configuration folder)"

// keySize is what account.Config.Key wants.
const keySize = 32

// keyPath is the key file of a store; "" means that the key is not kept.
func keyPath(t target, flag string) string {
	switch {
	case flag != "":
		return flag
	case t.kind == kindMemory:
		return ""
	case t.kind == kindSQLite:
		return t.at + ".key"
	}
	if dir, err := os.UserConfigDir(); err == nil {
		dir = filepath.Join(dir, "authz")
		if os.MkdirAll(dir, 0o700) == nil {
			return filepath.Join(dir, "authz.key")
		}
	}
	return "authz.key"
}

// key reads the key file of an open store, or makes it. made says the latter.
//
// It does not make one for a store in which users have seeds already: those
// were sealed under another key, and no login of theirs could succeed.
func (s *stores) key(ctx context.Context, path string) (key authz.Secret, made bool, err error) {
	if path == "" {
		return authz.NewSecret(string(randomKey())), false, nil
	}
	key, err = readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	sealed, err := s.hasSeeds(ctx)
	if err != nil {
		return authz.Secret{}, false, err
	}
	if sealed {
		// A process that started at the same moment may have made both.
		if key, err = readKey(path); errors.Is(err, fs.ErrNotExist) {
			return key, false, &refusedError{fmt.Sprintf("%s holds users with one-time passwords, and the key file %s that seals them does not exist: give the right one with --key-file, or bring it back from a backup", s.name(), path)}
		}
		return key, false, err
	}
	if made, err = createKey(path); err != nil {
		return authz.Secret{}, false, err
	}
	key, err = readKey(path)
	return key, made, err
}

func (s *stores) hasSeeds(ctx context.Context) (bool, error) {
	users, err := s.directory(account.Config{})
	if err != nil {
		return false, err
	}
	for user, err := range everyUser(ctx, users) {
		if err != nil || user.OTP {
			return user.OTP, err
		}
	}
	return false, nil
}

// readKey reads a key file.
func readKey(path string) (authz.Secret, error) {
	for range 50 {
		text, err := os.ReadFile(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return authz.Secret{}, err
			}
			return authz.Secret{}, fmt.Errorf("the key file cannot be read: %w", err)
		}
		if len(text) == 0 { // its maker could not make it in one step and is about to write
			time.Sleep(10 * time.Millisecond)
			continue
		}
		key, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(key) != keySize {
			break
		}
		return authz.NewSecret(string(key)), nil
	}
	return authz.Secret{}, fmt.Errorf("%s is no key file, which holds %d hexadecimal digits: give another one with --key-file", path, 2*keySize)
}

// createKey makes the key file in one step, unless it exists: of several
// processes one wins, and no one ever reads half a key.
func createKey(path string) (made bool, err error) {
	dir := filepath.Dir(path)
	defer func() {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("the key file %s cannot be made: the folder %s does not exist: create it first", path, dir)
		case err != nil:
			err = fmt.Errorf("the key file %s cannot be made: %w", path, err)
		}
	}()
	text := hex.EncodeToString(randomKey()) + "\n"
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if err := writeAndClose(f, text); err != nil {
		return false, err
	}
	err = os.Link(f.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
		f, openErr := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err = openErr; err == nil {
			err = writeAndClose(f, text)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err == nil {
		syncFolder(dir)
	}
	return err == nil, err
}

func writeAndClose(f *os.File, text string) error {
	_, err := f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes the name of a new file durable, where that can be asked for.
func syncFolder(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		_ = f.Close()
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// openToOthers reports whether other users can read the file.
func openToOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}

func randomKey() []byte {
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	return key
}

// keyOf finds or makes the key of a store, and says so where it matters.
func keyOf(ctx context.Context, s *stores, flag string, note func(text string)) (authz.Secret, error) {
	path := keyPath(s.target, flag)
	key, made, err := s.key(ctx, path)
	switch {
	case err != nil:
		return key, err
	case made:
		note("made the key file " + path + ": back it up, apart from the database; without it no one-time password works")
	case path != "" && openToOthers(path):
		note("other users of this machine can read the key file: chmod 600 " + path)
	}
	return key, nil
}
