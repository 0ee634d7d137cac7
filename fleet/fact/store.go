package fact

import "context"

// Store keeps facts. Its methods may be called from any goroutine, Append and Trim from one at a time. facttest.Run is
// what an implementation has to pass.
type Store interface {
	// Append keeps facts whose ids grow and are above all that are kept: all of them, or none with an error.
	Append(ctx context.Context, facts []Fact) error
	// Query answers a normal query. What takes too long ends with a page that has a Next.
	Query(ctx context.Context, q Query) (Page, error)
	// Trim drops at most so many of the oldest facts: those with an id below below, and any while Size says more bytes than
	// bytes (0 = any). It returns how many; fewer than step = nothing is left to drop.
	Trim(ctx context.Context, below uint64, bytes int64, step int) (int, error)
	Size(ctx context.Context) (Size, error)
	// Last is the highest id ever kept, 0 = none.
	Last(ctx context.Context) (uint64, error)
	Close() error
}

// Size is what a store holds.
type Size struct {
	Bytes  int64  // that are in use
	Oldest uint64 // the lowest id; 0 = nothing is kept
}
