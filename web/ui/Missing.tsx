/** What stands where an object should: it is loading, or it is not there for this user. */
export function Missing({ what, known }: { what: string; known: boolean }) {
  return (
    <main>
      <p class="empty">
        {known
          ? `There is no ${what} that you may see. It was removed, or it belongs to another team.`
          : 'Loading…'}
      </p>
    </main>
  );
}
