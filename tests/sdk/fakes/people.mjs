/** Those whom one meets in a test, as the server describes them. */

export const LEO = { first_name: "Leo", age: 31, languages: ["en"], verified: false };
