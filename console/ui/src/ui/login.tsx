import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { login, Problem } from '../api'
import { Button, Field, Note } from './basics'
import { Logo } from './icons'

export function Login() {
  const [user, setUser] = useState('')
  const [password, setPassword] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const secret = useRef<HTMLInputElement>(null)
  useLayoutEffect(() => { if (error && !busy) secret.current?.focus() }, [error, busy])
  const submit = async (e: Event) => {
    e.preventDefault()
    setBusy(true)
    setError('')
    try {
      await login(user, password)
    } catch (e) {
      const p = e as Problem
      setError(p.status === 401 ? 'The name or the password is wrong.' : p.status === 429 ? 'Too many attempts. Wait a moment.' : p.missing ? 'This server offers no login.' : p.message)
      setPassword('')
    } finally {
      setBusy(false)
    }
  }
  return (
    <main class="login">
      <form onSubmit={submit} class="login-box">
        <div class="login-brand"><Logo size={40} /><h1>Sapwood</h1></div>
        <Field label="Name"><input name="user" autocomplete="username" autocapitalize="none" spellcheck={false} required autofocus value={user} onInput={(e) => setUser(e.currentTarget.value)} /></Field>
        <Field label="Password"><input ref={secret} name="password" type="password" autocomplete="current-password" required value={password} onInput={(e) => setPassword(e.currentTarget.value)} /></Field>
        {error && <Note tone="bad">{error}</Note>}
        <Button type="submit" kind="primary" busy={busy}>Log in</Button>
        <details class="faint"><summary>No password?</summary><p>The first start of the broker printed that of <code>admin</code>, or took it from <code>SAPWOOD_ADMIN_PASSWORD</code>. On the broker’s machine <code>sapwood operators password admin --generate</code> makes another.</p></details>
      </form>
    </main>
  )
}
