package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// longestPause is between two attempts to listen.
const longestPause = 30 * time.Second

// listen hears what the database says has changed, until ctx ends. Each time the connection was lost it may have missed something, so
// everything counts as changed.
func (b *Backend) listen(ctx context.Context) {
	for pause := time.Second; ctx.Err() == nil; {
		began := time.Now()
		err := b.hear(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > longestPause {
			pause = time.Second
		}
		b.log.Warn("changes in the database are not heard of at present", "backend", b.name, "server", b.cfg.address(), "error", err, "again_in", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// hear listens on a connection of its own while that lasts.
func (b *Backend) hear(ctx context.Context) error {
	conf, err := b.poolConfig()
	if err != nil {
		return err
	}
	conf.ConnConfig.TLSConfig = b.tls.Load()
	conn, err := pgx.ConnectConfig(ctx, conf.ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // it is given up either way
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{b.cfg.Notify}.Sanitize()); err != nil {
		return err
	}
	b.changed("")
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		b.changed(n.Payload)
	}
}
