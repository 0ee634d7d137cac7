import { render } from 'preact'
import { whoAmI } from './api'
import { Shell } from './shell'
import { applyTheme } from './theme'
import './style/base.css'
import './style/parts.css'
import './style/pages.css'

applyTheme()
void whoAmI()
render(<Shell />, document.getElementById('app')!)
