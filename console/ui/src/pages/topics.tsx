import { Empty } from '../ui/basics'
export default function Page() { return <Empty title="Not yet" /> }
