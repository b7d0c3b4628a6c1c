/** Which columns a table shows: chosen by ticking, kept in the browser's storage. */
import { useState } from 'preact/hooks';

function stored(name: string, usual: readonly string[]): readonly string[] {
  try {
    const list: unknown = JSON.parse(localStorage.getItem(name) ?? 'null');
    return Array.isArray(list) && list.length > 0 ? list.map(String) : usual;
  } catch {
    return usual;
  }
}

export function useChoice(
  name: string,
  usual: readonly string[],
): [readonly string[], (list: readonly string[]) => void] {
  const [list, setList] = useState(() => stored(name, usual));
  return [
    list,
    (chosen) => {
      setList(chosen);
      localStorage.setItem(name, JSON.stringify(chosen));
    },
  ];
}

interface Option {
  readonly id: string;
  readonly title: string;
  readonly hint?: string;
}

export function ColumnChoice(props: {
  readonly options: readonly Option[];
  readonly chosen: readonly string[];
  readonly onChange: (list: readonly string[]) => void;
}) {
  const { options, chosen, onChange } = props;
  return (
    <details class="choice">
      <summary>Columns</summary>
      <fieldset class="bare" aria-label="Columns shown">
        {options.map(({ id, title, hint }) => (
          <label key={id} class="tick" title={hint}>
            <input
              type="checkbox"
              checked={chosen.includes(id)}
              onChange={(event) =>
                onChange(
                  event.currentTarget.checked
                    ? options.map((it) => it.id).filter((it) => it === id || chosen.includes(it))
                    : chosen.filter((it) => it !== id),
                )
              }
            />
            <span>{title}</span>
          </label>
        ))}
      </fieldset>
    </details>
  );
}
