// The own password.
import { useState } from 'preact/hooks'
import { call, whoAmI } from '../api'
import { Button, Field, Note } from './basics'
import { Dialog, toast } from './dialog'

export function ChangePassword({ close, forced }: { close: () => void; forced: boolean }) {
  const [f, set] = useState({ old: '', fresh: '', again: '' })
  const [error, setError] = useState('')
  const submit = async (e: Event) => {
    e.preventDefault()
    if (f.fresh !== f.again) { setError('The two new ones differ.'); return }
    try { await call('PUT', '/me/password', { old_password: f.old, password: f.fresh }); await whoAmI(); close(); toast('The password is changed; your other sessions ended') } catch (e) { setError((e as Error).message) }
  }
  const input = (k: keyof typeof f, auto: string) => <input type="password" required minLength={k === 'old' ? 1 : 8} autocomplete={auto as 'off'} value={f[k]} onInput={(e) => set({ ...f, [k]: e.currentTarget.value })} />
  return (
    <Dialog title="Change the password" close={close}>
      <form class="form" onSubmit={submit}>
        {forced && <Note tone="warn">Somebody else knows this password. Choose one of your own.</Note>}
        <Field label="The present one">{input('old', 'current-password')}</Field>
        <Field label="A new one" hint="At least 8 characters">{input('fresh', 'new-password')}</Field>
        <Field label="The new one again">{input('again', 'new-password')}</Field>
        {error && <Note tone="bad">{error}</Note>}
        <footer class="dialog-foot"><Button onClick={close}>Cancel</Button><Button type="submit" kind="primary">Change</Button></footer>
      </form>
    </Dialog>
  )
}
