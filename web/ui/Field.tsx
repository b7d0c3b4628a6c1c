/** A field of a form: title, control, and under it what is wrong or else a hint. The control takes what `wrongOf` gives. */
import type { ComponentChildren } from 'preact';

interface SaysProps {
  readonly name: string;
  /** undefined: nothing is. */
  readonly wrong: string | undefined;
  readonly hint?: string | undefined;
}

/** What is wrong, said aloud when it comes, or the hint. */
export function FieldSays({ name, wrong, hint }: SaysProps) {
  if (wrong !== undefined)
    return (
      <span class="error" role="alert" id={`wrong-${name}`}>
        {wrong}
      </span>
    );
  return hint === undefined ? null : <span class="muted">{hint}</span>;
}

/** Attributes of a control by which a screen reader finds what is wrong with it. */
export const wrongOf = (name: string, wrong: string | undefined) =>
  wrong === undefined ? {} : ({ 'aria-invalid': true, 'aria-describedby': `wrong-${name}` } as const);

export function Field(props: SaysProps & { readonly title: string; readonly children: ComponentChildren }) {
  const { name, title, wrong, hint, children } = props;
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is handed in
    <label class={wrong === undefined ? 'field' : 'field wrong'}>
      <span>{title}</span>
      {children}
      <FieldSays name={name} wrong={wrong} hint={hint} />
    </label>
  );
}
