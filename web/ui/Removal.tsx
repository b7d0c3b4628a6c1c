/** A removal that is asked twice, in place: the first button shows the second. */
import { useLayoutEffect, useState } from 'preact/hooks';

interface Props {
  /** What the first button says, for example Delete. */
  readonly word: string;
  readonly name: string;
  /** A request is under way; its end takes the question back, whatever it asked for. */
  readonly busy: boolean;
  onSure(): void;
}

export function Removal({ word, name, busy, onSure }: Props) {
  const [sure, setSure] = useState(false);
  // Before anybody can press again: after the page was drawn it would take back what was pressed meanwhile.
  useLayoutEffect(() => {
    if (!busy) setSure(false);
  }, [busy]);
  if (!sure)
    return (
      <button type="button" disabled={busy} aria-label={`${word} ${name}`} onClick={() => setSure(true)}>
        {word}
      </button>
    );
  return (
    <>
      <button type="button" class="danger" disabled={busy} onClick={onSure}>
        {word} for good
      </button>
      <button type="button" onClick={() => setSure(false)}>
        Keep
      </button>
    </>
  );
}
