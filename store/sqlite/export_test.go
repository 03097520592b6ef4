package sqlite

import "context"

// Poll asks n times for what has changed.
func Poll(ctx context.Context, s *Store, n int) error {
	f := feed{db: s.sql.DB()}
	defer f.close()
	for range n {
		if err := f.poll(ctx, nobody{}); err != nil {
			return err
		}
	}
	return nil
}
